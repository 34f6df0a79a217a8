# SPDX-License-Identifier: Apache-2.0
# Writes the bytes of PROGRAM as a C++ source file OUT.
file(READ ${PROGRAM} hex HEX)
string(REGEX REPLACE "(................................)" "\\1\n" lines "${hex}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "\\\\x\\1" lines "${lines}")
string(REGEX REPLACE "([^\n]+)" "    \"\\1\"" lines "${lines}")
string(LENGTH "${hex}" size)
math(EXPR size "${size} / 2")
file(WRITE ${OUT} "// Generated from fallbackd-stand-in.
#include \"standin/program/program_bytes.hpp\"

namespace fallbackd::standin {

std::string_view programBytes() {
  static const char kBytes[] =
${lines};
  return {kBytes, ${size}};
}

}  // namespace fallbackd::standin
")
