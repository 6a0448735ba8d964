"""ProgressiveVGAN (Acharya et al. 2018, arXiv 1810.02419): a video GAN that grows.

Progressive growing (Karras et al. 2018, arXiv 1710.10196) with 3-D convolutions. Training begins
with clips of 4x4 pixels and 4 frames. Each further level doubles height and width, at 8, 32 and 128
pixels the frames too, and fades in: both networks blend the new level with the one before it. The
discriminator has the head of WGAN-GP or that of the sliced Wasserstein GAN (Wu et al. 2019).

All levels have their parameters from the start. A level that is not used gets no gradient, and
Adam without momentum does not move it.
"""
