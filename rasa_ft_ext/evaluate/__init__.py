"""The stage `evaluate`: what a served model is worth, and whether it may replace the teacher."""
