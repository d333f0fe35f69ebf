# Writes OUT: the bytes of IN as a C array named SYMBOL.
file(READ ${IN} hex HEX)
string(LENGTH "${hex}" digits)
math(EXPR size "${digits} / 2")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "(0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,)" "\\1\n" bytes "${bytes}")
file(WRITE ${OUT} "/* made from ${SYMBOL} by cmake/embed_file.cmake */\n#include <stddef.h>\n"
     "static const unsigned char ${SYMBOL}[] = {\n${bytes}0};\nstatic const size_t ${SYMBOL}_size = ${size};\n")
