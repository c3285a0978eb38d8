"""The custom actions of the travel assistant, run by the assistant's own process."""
