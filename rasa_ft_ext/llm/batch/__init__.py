"""Calls in batches, as the OpenAI API has them: half the price, answered within a day."""
