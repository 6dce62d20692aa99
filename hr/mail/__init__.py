"""Mails: what they say, how they go out, and the memory that keeps any of them from going out twice."""
