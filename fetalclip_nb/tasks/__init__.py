"""What is asked of the data, and which patients are trained and tested on."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "classes": ["asked_tasks", "task_sentences", "taught_sentences", "taught_tasks"],
        "items": [
            "CHD_CLASSES",
            "Task",
            "class_items",
            "clip_items",
            "image_items",
            "require_enough_rows",
        ],
        "masks": ["head_task", "open_tasks", "structure_task"],
        "official_splits": ["leak_table", "splits_available"],
    },
)
