"""Q1: what does a cumbersome net cost, and what does its size buy?"""
