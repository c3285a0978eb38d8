"""The stage `train`: from rows of prompts and completions to a fine-tuned model."""
