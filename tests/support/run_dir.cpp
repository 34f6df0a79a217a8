// SPDX-License-Identifier: Apache-2.0
#include "run_dir.hpp"

#include "base/strings.hpp"

#include <cstdlib>
#include <unistd.h>

namespace fallbackd::e2e {

namespace {

std::filesystem::path& storedRunDir() {
  static std::filesystem::path path;
  return path;
}

std::filesystem::path folderOr(const char* variable, const char* otherwise) {
  const char* const value = std::getenv(variable);  // NOLINT(concurrency-mt-unsafe): one thread
  return value != nullptr ? value : otherwise;
}

}  // namespace

void setRunDir(std::filesystem::path path) {
  storedRunDir() = std::move(path);
}

const std::filesystem::path& runDir() {
  return storedRunDir();
}

std::filesystem::path makeRunDir(const std::string& name) {
  std::filesystem::path path = runDir() / name;
  for (int count = 2; !std::filesystem::create_directory(path); ++count) {
    path = runDir() / (name + "-" + std::to_string(count));
  }
  return path;
}

std::filesystem::path logsDir() {
  return runDir() / "logs";
}

std::filesystem::path logFile(const std::string& name) {
  std::filesystem::create_directories(logsDir());
  return logsDir() / (name + ".log");
}

std::filesystem::path binary(const std::string& name) {
  return folderOr("FALLBACKD_BIN_DIR", FALLBACKD_E2E_BIN_DIR) / name;
}

std::filesystem::path testProgram(const std::string& name) {
  return folderOr("FALLBACKD_PROGRAMS_DIR", FALLBACKD_E2E_PROGRAMS_DIR) / name;
}

std::string findProgram(const std::string& name, const std::string& path) {
  if (name.find('/') != std::string::npos) return name;
  for (const auto folder : split(path, ':')) {
    std::string candidate = std::string(folder) + "/" + name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return name;
}

}  // namespace fallbackd::e2e
