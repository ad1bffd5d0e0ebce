"""Q3: how does the temperature change the distilled student?"""
