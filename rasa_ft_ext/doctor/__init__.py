"""Look at an assistant that is connected to a fine-tuned model: what has moved away since the training."""
