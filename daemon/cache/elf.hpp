// SPDX-License-Identifier: Apache-2.0
// What an executable's headers declare, read as untrusted input. Sections are ignored, as the kernel ignores
// them.
#pragma once

#include "base/error.hpp"
#include "cache/go_build.hpp"

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace fallbackd::cache {

struct ElfForm {
  bool pie = false;
  bool relro = false;  // reported, not required: go build links without it
  std::optional<GoBuild> go;
};

/// The node's architecture in the words of attestations (Go's): "amd64", "arm64".
std::string_view nodeArchitecture();

/// Whether the bytes begin with the ELF magic number.
bool hasElfMagic(std::span<const std::byte> bytes);

/// The architecture that the file's header names, in the words of attestations. Reasons: not_elf,
/// elf_malformed, elf_wrong_machine (none of those).
Result<std::string_view> elfArchitecture(std::span<const std::byte> file, const std::string& what);

/// Checks that the program starts without a loader and maps nothing both writable and executable: no
/// PT_INTERP, no DT_NEEDED, the machine and class of `architecture`, a stack that is not executable. Reasons:
/// not_elf, elf_malformed, elf_wrong_machine, elf_dynamic, elf_writable_code, elf_executable_stack.
Result<ElfForm> inspectElf(std::span<const std::byte> file, const std::string& what,
                           std::string_view architecture = nodeArchitecture());

}  // namespace fallbackd::cache
