// SPDX-License-Identifier: Apache-2.0
// Runs a command line as a person would.
#pragma once

#include <array>
#include <cstdio>
#include <string>
#include <sys/wait.h>

namespace fallbackd::test {

struct Output {
  int code = 0;      // exit code, or -1 if a signal ended it
  std::string text;  // stdout and stderr
};

inline Output shell(const std::string& command) {
  Output output;
  FILE* pipe = ::popen(("{ " + command + "; } 2>&1").c_str(), "r");
  std::array<char, 4096> buffer{};
  for (std::size_t got = 0; (got = ::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) {
    output.text.append(buffer.data(), got);
  }
  const int status = ::pclose(pipe);
  output.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return output;
}

}  // namespace fallbackd::test
