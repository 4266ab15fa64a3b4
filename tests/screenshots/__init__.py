"""Pictures of the pages: recorded situations in real rings and histories, taken with Chromium.

`make screenshots` takes them; `scenes` says what the agents do, `camera` where one looks.
"""
