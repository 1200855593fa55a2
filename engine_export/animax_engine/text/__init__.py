"""The text encoder's making: corpus, teacher, student, distillation, export, figures."""
