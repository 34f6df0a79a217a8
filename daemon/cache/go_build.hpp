// SPDX-License-Identifier: Apache-2.0
// What the Go linker wrote into a program about its build: toolchain, main module and its version.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace fallbackd::cache {

struct GoBuild {
  std::string goVersion;      // "go1.19.8"
  std::string module;         // of the main package; empty if the program was built without modules
  std::string moduleVersion;  // "v1.8.3", "(devel)", a pseudo-version, or empty
};

/// Looks for the build information in `data`, the bytes of one writable segment, where the linker puts it.
/// Supports the format of Go 1.18 and later, not the pointers of older toolchains. Empty if there is none or
/// it is damaged: it is additional evidence, not a condition.
std::optional<GoBuild> findGoBuild(std::span<const std::byte> data);

/// Whether a program that was built as this module version was attested as a different version. Only a
/// release counts: "(devel)", a pseudo-version or no version is what an ordinary go build writes. The
/// attested version may have a suffix (v1.8.3 attested as 1.8.3-r1).
bool contradicts(std::string_view moduleVersion, std::string_view attested);

}  // namespace fallbackd::cache
