"""The page ``docs/comparison.md``."""

from pathlib import Path
from typing import Any, Dict, List

from dr2net_mm.analysis.engines.stacks import INSTALL

from .answers import answers, losses, subject
from .plot import draw_comparison
from .records import Records, read_records
from .tables import engine_table, memory_table, time_table
from .text import DROP_PATH, ENGINES, READING, REPEAT, TITLE

PLOT = 'memory_against_time.png'


def comparison_page(folder: Path, pictures: Path, link: str) -> str:
    """Return the text of the page, and write its picture.

    Args:
        folder: Where the records are.
        pictures: Folder of the picture, made where it is missing.
        link: The folder as the page names it.
    """
    records = read_records(folder)
    parts = [TITLE, _numbered(answers(records)), READING, '## Memory']
    for record in records.memory:
        size = '×'.join(map(str, record['errors']['image_size']))
        rounded = f' Taken {record["rounded"]}.' if 'rounded' in record else ''
        parts += [
            f'### {subject(record)}',
            f'Gradient errors at {size}, batch {record["errors"]["batch"]}; torch '
            f'{record["torch"]}.' + rounded,
            memory_table(record),
        ]
    parts.append(DROP_PATH)
    if records.time is not None:
        pictures.mkdir(exist_ok=True)
        draw_comparison(records.time, pictures / PLOT)
        parts += [
            '## Time',
            f'{subject(records.time)}, fp32, {_hardware(records.time)}. Steps of all '
            f'rows are interleaved, {records.time["rounds"]} rounds; medians, and '
            'medians of the ratios within a round. Offload moves within the memory of '
            'the host here.',
            time_table(records.time),
            f'![Peak of activations against time of a step]({link}/{PLOT})',
        ]
    behind = losses(records)
    parts += ['## Where ours is behind', '\n'.join(f'- {line}' for line in behind)]
    if records.engines is not None:
        network = records.engines['network']
        small = records.engines['situations']
        parts += [
            '## Engines on one ViT',
            f'`{network["name"]}`, {network["depth"]} blocks, images of '
            f'{network["image_size"]}×{network["image_size"]}, batch '
            f'{network["batch"]}, {_hardware(records.engines)}.',
            ENGINES.format(size=small['image_size'], depth=small['ddp_depth']),
            engine_table(records.engines),
        ]
    parts.append(_repeat(records))
    return '\n\n'.join(part.strip('\n') for part in parts) + '\n'


def _numbered(lines: List[str]) -> str:
    return '\n'.join(f'{number}. {line}' for number, line in enumerate(lines, start=1))


def _hardware(record: Dict[str, Any]) -> str:
    found = record['hardware']
    processor = found.get('gpu', found['processor'])
    return f'{processor}, {found["threads"]} threads, torch {found["torch"]}'


def _repeat(records: Records) -> str:
    def given(record: Dict[str, Any]) -> str:
        size = ' '.join(map(str, dict.fromkeys(record['image_size'])))
        return (
            f'--backbone {record["name"]} --img-size {size} --batch {record["batch"]}'
        )

    place = 'evidence/comparison'
    memory = [
        f'python tools/analysis/memory.py {given(record)} --peers \\\n'
        f'    --json {place}/memory_{record["name"]}.json'
        for record in records.memory
    ]
    time = engines = ''
    if records.time is not None:
        found = records.time
        threads = found['hardware']['threads']
        time = (
            f'python tools/analysis/benchmark.py {given(found)} --peers \\\n'
            f'    --rounds {found["rounds"]} --warm-up 1 --threads {threads} '
            f'--device {found["hardware"]["device"]} --json {place}/benchmark.json'
        )
    if records.engines is not None:
        found = records.engines
        network = found['network']
        engines = (
            f'python tools/analysis/engines.py --vit {network["name"]} '
            f'--img-size {network["image_size"]} --depth {network["depth"]} \\\n'
            f'    --batch {network["batch"]} --rounds {found["rounds"]} '
            f'--threads {found["hardware"]["threads"]} --json {place}/engines.json'
        )
    text = REPEAT.format(
        memory='\n'.join(memory),
        time=time,
        engines=engines,
        install='\n'.join(INSTALL.values()),
    )
    return '\n'.join(line for line in text.splitlines() if line.strip() or not line)
