# hd_embed(target file symbol): gives `target` a header embedded/<symbol>.h with the bytes of `file` as
# `static const unsigned char <symbol>[]` (NUL-terminated) and `<symbol>_size`, made anew when the file changes.
function(hd_embed target file symbol)
  set(out ${CMAKE_BINARY_DIR}/embedded/${symbol}.h)
  add_custom_command(OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DIN=${file} -DOUT=${out} -DSYMBOL=${symbol} -P ${CMAKE_SOURCE_DIR}/cmake/embed_file.cmake
    DEPENDS ${file} ${CMAKE_SOURCE_DIR}/cmake/embed_file.cmake VERBATIM)
  target_sources(${target} PRIVATE ${out})
endfunction()

# hd_embed_folder(target folder symbol): the same for all files below a folder: embedded/<symbol>.h has an array `symbol` of
# {path, data, size}, sorted by path.
function(hd_embed_folder target folder symbol)
  set(out ${CMAKE_BINARY_DIR}/embedded/${symbol}.h)
  file(GLOB_RECURSE files CONFIGURE_DEPENDS ${folder}/*)
  add_custom_command(OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DIN=${folder} -DOUT=${out} -DSYMBOL=${symbol} -P ${CMAKE_SOURCE_DIR}/cmake/embed_folder.cmake
    DEPENDS ${files} ${CMAKE_SOURCE_DIR}/cmake/embed_folder.cmake VERBATIM)
  target_sources(${target} PRIVATE ${out})
endfunction()
