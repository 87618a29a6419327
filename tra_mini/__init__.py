"""Threshold relative attention and a tiny GPT: arXiv 2503.23174, reproduced small."""

from tra_mini.attention import threshold_relative_attention
from tra_mini.evaluation import accuracy_by_length
from tra_mini.mechanisms import MECHANISMS
from tra_mini.model import GPT, GPTConfig
from tra_mini.tasks import decode, encode, flip_flop
from tra_mini.training import train, trained
