"""Q4: how well does a student do on a digit that only its teacher has seen?"""
