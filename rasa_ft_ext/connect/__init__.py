"""Let an assistant use its fine-tuned model: change config.yml and endpoints.yml, pin the prompt, and take it back.

`guard` says what speaks against it, `target` what the files should hold, `plan` makes the changes in memory with
`edits` and `notation`, `journal` writes them whole or not at all and restores them. `stage` does one after the other.
"""
