// SPDX-License-Identifier: Apache-2.0
// Runs every file of a corpus through its target, without a fuzzer: earlier findings stay fixed.
#include "fuzz.hpp"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

int main(int argc, char** argv) {
  int count = 0;
  for (int i = 1; i < argc; ++i) {
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      std::ifstream in(entry.path(), std::ios::binary);
      const std::string bytes{std::istreambuf_iterator<char>(in), {}};
      std::printf("%s\n", entry.path().filename().c_str());
      std::fflush(stdout);
      LLVMFuzzerTestOneInput(static_cast<const std::uint8_t*>(static_cast<const void*>(bytes.data())),
                             bytes.size());
      ++count;
    }
  }
  std::printf("%d files\n", count);
  return count == 0 ? 1 : 0;
}
