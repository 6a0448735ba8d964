"""The arithmetic of the layers: convolutions, poolings and the recurrent unit, in several forms.

All forms of an operation give the same result up to rounding. They differ in speed on a given kind
of device. `forms` lists them and says which one a network uses.
"""
