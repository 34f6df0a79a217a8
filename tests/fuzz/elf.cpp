// SPDX-License-Identifier: Apache-2.0
// A program's headers, checked again by a very simple reader.
#include "cache/elf.hpp"

#include "fuzz.hpp"

#include <cstring>
#include <elf.h>
#include <span>

using namespace fallbackd;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto form = cache::inspectElf(bytes, "it");
  if (!form) return 0;
  Elf64_Ehdr header;
  fuzz::demand(size >= sizeof header, "there is a header");
  std::memcpy(&header, data, sizeof header);
  bool stack = false;
  for (std::size_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    const auto at = header.e_phoff + i * sizeof segment;
    fuzz::demand(at + sizeof segment <= size, "the program headers are in the file");
    std::memcpy(&segment, data + at, sizeof segment);
    fuzz::demand(segment.p_type != PT_INTERP, "no loader");
    if (segment.p_type == PT_LOAD) {
      fuzz::demand((segment.p_flags & (PF_W | PF_X)) != (PF_W | PF_X), "nothing writable and executable");
      fuzz::demand(segment.p_offset + segment.p_filesz <= size, "segments are in the file");
    }
    if (segment.p_type == PT_GNU_STACK) {
      stack = true;
      fuzz::demand((segment.p_flags & PF_X) == 0, "the stack is not executable");
    }
  }
  fuzz::demand(stack, "there is a stack header");
  return 0;
}
