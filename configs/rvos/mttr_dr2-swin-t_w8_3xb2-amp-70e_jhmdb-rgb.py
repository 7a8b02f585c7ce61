_base_ = './mttr_dr2-swin-t_w8_3xb2-amp-70e_a2d-rgb.py'

# Trained on A2D-Sentences, tested on JHMDB-Sentences without training on it.
test_pipeline = [
    dict(type='LoadFrameFiles'),
    dict(type='LoadJHMDBMask'),
    dict(type='ResizeWindow', short=320, long=576),
    dict(type='PackReferringInputs', with_truth=True),
]
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='JHMDBSentencesDataset',
        data_root='data/jhmdb_sentences/',
        # The list of MTTR's authors: other frames give other numbers.
        samples_file='data/jhmdb_sentences/jhmdb_sentences_samples_metadata.json',
        window_size=8,
        pipeline=test_pipeline,
        test_mode=True,
    )
)
