"""Q5 and Q6: does a net learn from a weaker teacher, and from one of its own kind?"""
