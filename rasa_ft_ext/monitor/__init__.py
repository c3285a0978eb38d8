"""What users say after the swap, against what the model was trained on."""
