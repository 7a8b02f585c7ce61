_base_ = './pix4point_dr2-vit-s_float_1xb8-600e_s3dis.py'

# The norm behind the blocks sees the mean of the last two streams, as in the authors'
# code, which is the pretrained network at no (alpha, beta).
model = dict(encoder=dict(average_last_two=True))
