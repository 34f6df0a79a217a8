// SPDX-License-Identifier: Apache-2.0
// Reads a file as text, for comparisons: empty if it cannot be read.
#pragma once

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace fallbackd::test {

inline std::string contentOf(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

}  // namespace fallbackd::test
