"""The command `rasa-ft`."""
