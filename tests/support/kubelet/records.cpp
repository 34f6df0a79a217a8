// SPDX-License-Identifier: Apache-2.0
#include "kubelet/records.hpp"

#include <fstream>

namespace fallbackd::e2e::model {

Records::Records(std::filesystem::path folder) : file_(std::move(folder) / "actuated_pods_state") {
  std::ifstream in(file_);
  for (std::string line; std::getline(in, line);) lines_.insert(line);
}

bool Records::has(const std::string& uid, const std::string& container) const {
  const std::lock_guard lock(mutex_);
  return lines_.contains(uid + " " + container);
}

void Records::add(const std::string& uid, const std::string& container) {
  const std::lock_guard lock(mutex_);
  if (lines_.insert(uid + " " + container).second) save();
}

void Records::forget(const std::string& uid) {
  const std::lock_guard lock(mutex_);
  if (std::erase_if(lines_, [&](const std::string& line) { return line.starts_with(uid + " "); }) != 0)
    save();
}

void Records::save() const {
  std::ofstream out(file_);
  for (const auto& line : lines_) out << line << "\n";
}

}  // namespace fallbackd::e2e::model
