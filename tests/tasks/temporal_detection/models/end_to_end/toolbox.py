"""What the tests of the end-to-end localizer share."""

import copy


def losses_of(model, batch):
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    return model(**data, mode='loss')
