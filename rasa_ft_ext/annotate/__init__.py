"""Run every E2E test on the assistant and keep, for every user step, the prompt and the commands it led to."""
