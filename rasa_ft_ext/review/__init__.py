"""What a person decided of labels and rephrasings: the file, what fits it, and the data with it applied.

Every stage may use it; it knows no stage, no server and no report.
"""
