"""SSW-GAN's upsampling stages (Castrejon, Ballas, Courville 2021)."""
