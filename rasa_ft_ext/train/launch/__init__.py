"""Configurations for `accelerate launch`, for one machine with several GPUs; each file says how it is used.

python -m rasa_ft_ext.train.launch fsdp     prints where the file is
"""
