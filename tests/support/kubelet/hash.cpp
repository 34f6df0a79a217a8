// SPDX-License-Identifier: Apache-2.0
#include "kubelet/hash.hpp"

#include <array>
#include <cstdio>

#include <boost/json.hpp>

namespace fallbackd::e2e::model {

namespace {

std::string fnv1a(const std::string& text) {
  std::uint32_t hash = 2166136261U;
  for (const char byte : text) {
    hash ^= static_cast<unsigned char>(byte);
    hash *= 16777619U;
  }
  std::array<char, 16> hex{};
  std::snprintf(hex.data(), hex.size(), "%x", hash);
  return hex.data();
}

/// Bytes as Go's "%#v" shows them.
std::string dumped(const std::string& bytes) {
  std::string out = "([]uint8)[";
  for (const char byte : bytes) {
    if (out.back() != '[') out += ' ';
    out += std::to_string(static_cast<unsigned char>(byte));
  }
  return out + "]";
}

std::string everythingIn(const ContainerSpec& spec) {
  std::string all = spec.name + "\n" + spec.image + "\n" + spec.workingDir + "\n";
  for (const auto* const words : {&spec.command, &spec.args}) {
    for (const auto& word : *words) all += word + "\n";
    all += "\n";
  }
  for (const auto& [name, value] : spec.env) all += name + "=" + value + "\n";
  for (const auto& mount : spec.mounts) all += mount.volume + ":" + mount.mountPath + "\n";
  return all + std::to_string(spec.memoryBytes) + "\n" + std::to_string(spec.cpuMillis);
}

}  // namespace

std::string containerHash(Version version, const ContainerSpec& spec) {
  if (version < Version::v1_31) return fnv1a(everythingIn(spec));
  // Keys in this order, without spaces.
  const auto text = R"({"image":)" + boost::json::serialize(boost::json::string(spec.image)) + R"(,"name":)" +
                    boost::json::serialize(boost::json::string(spec.name)) + "}";
  return fnv1a(dumped(text));
}

}  // namespace fallbackd::e2e::model
