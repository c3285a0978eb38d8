"""Is what the model is to learn true? One small module for each question that is put to the rows of training data."""
