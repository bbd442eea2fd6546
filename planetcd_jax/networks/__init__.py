"""Networks and their weights: VGG-16 in Flax and in C++, what is fed to them, and porting."""
