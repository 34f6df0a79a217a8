// SPDX-License-Identifier: Apache-2.0
// Writes a row of the attack table when scripts/report attacks runs the test.
#pragma once

#include <cctype>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>

#include <boost/json.hpp>

namespace fallbackd::test {

inline void recordAttack(std::string_view attack, std::string_view wanted, std::string_view got,
                         std::string_view says) {
  const char* folder = std::getenv("ATTACKS_JSON");  // NOLINT(concurrency-mt-unsafe)
  if (folder == nullptr) return;
  std::string file;
  for (const char c : attack) file.push_back(std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '-');
  std::ofstream(std::string(folder) + "/" + file + ".json") << boost::json::serialize(boost::json::object{
      {"attack", attack}, {"wanted", wanted}, {"got", got}, {"says", says.substr(says.rfind('/') + 1)}});
}

/// "signed by another key" -> "SignedByAnotherKey"
inline std::string testName(std::string_view words) {
  std::string name;
  bool up = true;
  for (const char c : words) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0;
    if (plain) name.push_back(up && c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c);
    up = !plain;
  }
  return name;
}

}  // namespace fallbackd::test
