"""The pages of the report on this machine, with accept, reject and edit beside every message and rephrasing."""
