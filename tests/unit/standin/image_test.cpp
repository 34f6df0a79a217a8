// SPDX-License-Identifier: Apache-2.0
// The image of a stand-in, and kubelet's hash.
#include "standin/image.hpp"

#include "standin/hash.hpp"
#include "standin/program/program_bytes.hpp"

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fallbackd::standin {
namespace {

namespace json = boost::json;

TEST(KubeletsHash, IsTheOneThatKubeletComputes) {
  // Measured with kubelet 1.31 to 1.36.
  EXPECT_EQ(kubeletsHash("app", "127.0.0.1:5999/shop/checkout:1.8.3"), "774ada0b");
}

TEST(KubeletsHash, DiffersWithNameAndImage) {
  const auto hash = kubeletsHash("app", "r/a:1");
  EXPECT_NE(hash, kubeletsHash("app", "r/a:2"));
  EXPECT_NE(hash, kubeletsHash("web", "r/a:1"));
  EXPECT_LE(hash.size(), 8U);
}

TEST(StandInImage, IsNamedAfterTheBinary) {
  EXPECT_EQ(imageNameOf({"checkout", "1.8.3"}), "fallbackd.io/checkout:1.8.3");
  EXPECT_EQ(imageNameOf({"checkout", "1.8.3-rc.1+build.7"}), "fallbackd.io/checkout:1.8.3-rc.1_build.7");
}

TEST(StandInImage, HasOneLayerWithOneFile) {
  const auto parts = imageOf("fallbackd.io/checkout:1", "program", "amd64");
  ASSERT_EQ(parts.size(), 3U);
  const auto& tar = parts[0].bytes;
  ASSERT_EQ(tar.size(), 4U * 512);
  EXPECT_EQ(tar.substr(0, 19), std::string("fallbackd-stand-in\0", 19));
  EXPECT_EQ(tar.substr(100, 7), "0000755");
  EXPECT_EQ(tar.substr(124, 11), "00000000007");
  EXPECT_EQ(tar.substr(512, 8), std::string("program\0", 8));
  const auto textAt = [](const json::value& value, const char* pointer) {
    return std::string(value.at_pointer(pointer).as_string());
  };
  const auto config = json::parse(parts[1].bytes);
  EXPECT_EQ(textAt(config, "/rootfs/diff_ids/0"), parts[0].digest);
  EXPECT_EQ(textAt(config, "/config/Entrypoint/0"), "/fallbackd-stand-in");
  EXPECT_EQ(textAt(config, "/architecture"), "amd64");
  const auto manifest = json::parse(parts[2].bytes);
  EXPECT_EQ(textAt(manifest, "/config/digest"), parts[1].digest);
  EXPECT_EQ(textAt(manifest, "/layers/0/digest"), parts[0].digest);
  EXPECT_EQ(manifest.at_pointer("/layers/0/size").to_number<std::size_t>(), tar.size());
  // containerd would collect what no label refers to.
  EXPECT_EQ(parts[2].labels.at("containerd.io/gc.ref.content.config"), parts[1].digest);
  EXPECT_EQ(parts[2].labels.at("containerd.io/gc.ref.content.l.0"), parts[0].digest);
}

TEST(StandInImage, TwoNamesAreTwoImages) {
  // containerd keeps the names of one configuration digest together, and removes them together.
  const auto one = imageOf("fallbackd.io/checkout:1", "program", "amd64");
  const auto two = imageOf("fallbackd.io/payment:1", "program", "amd64");
  EXPECT_EQ(one[0].digest, two[0].digest);
  EXPECT_NE(one[1].digest, two[1].digest);
  EXPECT_NE(one[2].digest, two[2].digest);
}

TEST(StandInProgram, IsAFewKilobytesOfElf) {
  const auto program = programBytes();
  EXPECT_TRUE(
      program.starts_with("\x7f"
                          "ELF"));
  EXPECT_LT(program.size(), 8192U);
}

}  // namespace
}  // namespace fallbackd::standin
