"""Small images with labels, written byte by byte: PDS3 and PDS4."""

_PDS3_TYPES = {
    "uint8": "UNSIGNED_INTEGER",
    "int16": "LSB_INTEGER",
    "uint16": "LSB_UNSIGNED_INTEGER",
    "float32": "PC_REAL",
}
_PDS4_TYPES = {
    "uint8": "UnsignedByte", "int16": "SignedLSB2", "uint16": "UnsignedLSB2", "float32": "IEEE754LSBSingle",
    "int32": "SignedLSB4",
}  # fmt: skip


def write_pds3(path, image, **keywords):
    """Writes [H, W] as PDS3 with an attached label; `keywords` go into its IMAGE object. Returns the path."""
    height, width = image.shape
    size, records = image.dtype.itemsize * width, 40
    lines = [
        "PDS_VERSION_ID = PDS3", "RECORD_TYPE = FIXED_LENGTH", f"RECORD_BYTES = {size}",
        f"FILE_RECORDS = {records + height}", f"LABEL_RECORDS = {records}", f"^IMAGE = {records + 1}",
        "OBJECT = IMAGE", f"  LINES = {height}", f"  LINE_SAMPLES = {width}",
        f"  SAMPLE_BITS = {8 * image.dtype.itemsize}", f"  SAMPLE_TYPE = {_PDS3_TYPES[image.dtype.name]}",
        *(f"  {name} = {value}" for name, value in keywords.items()), "END_OBJECT = IMAGE", "END", "",
    ]  # fmt: skip
    label = "\r\n".join(lines).encode()
    assert len(label) <= size * records
    path.write_bytes(label.ljust(size * records) + image.astype(image.dtype.newbyteorder("<")).tobytes())
    return path


def write_pds4(path, image, **constants):
    """Writes [H, W] as PDS4, the label at `path` and the pixels beside it as .img; returns the path."""
    height, width = image.shape
    special = "".join(f"<{name}>{value}</{name}>" for name, value in constants.items())
    axes = "".join(
        f"<Axis_Array><axis_name>{name}</axis_name><elements>{size}</elements>"
        f"<sequence_number>{i}</sequence_number></Axis_Array>"
        for i, (name, size) in enumerate((("Line", height), ("Sample", width)), start=1)
    )
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?><Product_Observational xmlns="http://pds.nasa.gov/pds4/pds/v1">'
        "<Identification_Area><title>t</title></Identification_Area><File_Area_Observational>"
        f"<File><file_name>{path.with_suffix('.img').name}</file_name></File>"
        '<Array_2D_Image><offset unit="byte">0</offset><axes>2</axes>'
        "<axis_index_order>Last Index Fastest</axis_index_order>"
        f"<Element_Array><data_type>{_PDS4_TYPES[image.dtype.name]}</data_type></Element_Array>{axes}"
        f"<Special_Constants>{special}</Special_Constants></Array_2D_Image>"
        "</File_Area_Observational></Product_Observational>",
        encoding="utf-8",
    )
    path.with_suffix(".img").write_bytes(image.astype(image.dtype.newbyteorder("<")).tobytes())
    return path
