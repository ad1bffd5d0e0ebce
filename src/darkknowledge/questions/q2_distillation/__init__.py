"""Q2: is the small net better when it learns from the teacher's soft labels as well?"""
