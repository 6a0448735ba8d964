"""The arithmetic of the layers: convolutions, pooling and the recurrent unit, in several forms.

All forms of an operation give the same result up to rounding. Their speed differs between kinds of
device. `forms` lists the forms and chooses one for a network.
"""
