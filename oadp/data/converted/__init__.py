"""Large input files, converted once to arrays that all processes of a machine share."""
