"""The only place that imports `rasa`: the assistant in this process, its test suites, the check of its licence."""
