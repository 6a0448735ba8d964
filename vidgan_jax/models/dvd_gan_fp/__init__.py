"""DVD-GAN-FP: DVD-GAN that continues given frames (frame prediction, DVD-GAN A.4)."""
