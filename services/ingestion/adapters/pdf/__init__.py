"""PDF: text by page, tables by the lines that draw them."""

from services.ingestion.adapters.pdf.document import PdfText, read_pdf
from services.ingestion.adapters.pdf.flowing import flowing

__all__ = ["PdfText", "flowing", "read_pdf"]
