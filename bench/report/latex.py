"""The page's tables as LaTeX, to be put into a paper: \\usepackage{booktabs}."""

from __future__ import annotations

from bench.report.page import Page, Span, Table

SIGNS = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "≈": r"$\approx$", "→": r"$\rightarrow$",
    "−": "$-$", "–": "--", "·": r"$\cdot$", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def render(page: Page) -> str:
    """Return every table of a page but those of single cells, each in an environment of its own."""
    return "\n\n".join(_table(table) for table in page.tables() if table.name not in ("cells", "failures")) + "\n"


def escape(text: str) -> str:
    """Return text that LaTeX prints as it is."""
    return "".join(SIGNS.get(sign, sign) for sign in " ".join(text.split()))


def _table(table: Table) -> str:
    columns = "l" * table.texts + "r" * (len(table.head) - table.texts)
    rows = [" & ".join(_span(span) for span in row) for row in table.rows]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(table.caption or table.name)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(escape(text) for text in table.head) + r" \\",
        r"\midrule",
        *(f"{row} \\\\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        *(rf"\par\footnotesize [{i}] {escape(note)}" for i, note in enumerate(table.notes, 1)),
        r"\end{table}",
    ]
    return "\n".join(lines)


def _span(span: Span) -> str:
    text = escape(span.text)
    return {"strong": rf"\textbf{{{text}}}", "code": rf"\texttt{{{text}}}"}.get(span.style, text)
