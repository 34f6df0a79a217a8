// SPDX-License-Identifier: Apache-2.0
// The image of a stand-in, and kubelet's hash.
#include "standin/image.hpp"

#include "standin/hash.hpp"
#include "standin/program/program_bytes.hpp"

#include <memory>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fallbackd::standin {
namespace {

namespace json = boost::json;

TEST(KubeletsHash, IsTheOneThatKubeletComputes) {
  // Observed with kubelet 1.31 to 1.36.
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
  // containerd's garbage collection removes content that no label refers to.
  EXPECT_EQ(parts[2].labels.at("containerd.io/gc.ref.content.config"), parts[1].digest);
  EXPECT_EQ(parts[2].labels.at("containerd.io/gc.ref.content.l.0"), parts[0].digest);
}

Executable executableOf(const std::string& content, std::string path = "/app/bin/server") {
  auto file = std::make_shared<sys::UniqueFd>(::memfd_create("binary", MFD_CLOEXEC));
  EXPECT_EQ(::write(file->get(), content.data(), content.size()), static_cast<ssize_t>(content.size()));
  return {std::move(path), "d1", content.size(), std::move(file)};
}

std::string wholeOf(const cri::Blob& blob, std::size_t piece) {
  std::string all;
  while (all.size() < blob.size()) all += cri::pieceOf(blob, all.size(), piece).value();
  return all;
}

TEST(StandInImage, HasTheBinaryInALayerOfItsOwn) {
  const std::string content(1500, 'x');
  auto layer = layerOf(executableOf(content));
  const auto tar = wholeOf(layer, 1 << 20);
  ASSERT_EQ(tar.size(), 512U * (3 + 3 + 2)) << "two folders, the file and its content, the end";
  EXPECT_EQ(tar.size(), layer.size());
  EXPECT_EQ(tar.substr(0, 5), std::string("app/\0", 5));
  EXPECT_EQ(tar[156], '5');
  EXPECT_EQ(tar.substr(512, 9), std::string("app/bin/\0", 9));
  EXPECT_EQ(tar.substr(1024, 15), std::string("app/bin/server\0", 15));
  EXPECT_EQ(tar.substr(1024 + 100, 7), "0000755");
  EXPECT_EQ(tar.substr(1024 + 124, 11), "00000002734");
  EXPECT_EQ(tar.substr(1536, 1501), content + std::string(1, '\0'));
  EXPECT_EQ(wholeOf(layer, 7), tar) << "the size of the pieces must not matter";

  layer.digest = digestOf(layer).value();
  EXPECT_EQ(layer.digest, digestOf(cri::Blob{"", "", tar}).value());
  const auto digest = layer.digest;
  const auto parts = imageOf("fallbackd.io/checkout:1", "program", "amd64", std::move(layer));
  ASSERT_EQ(parts.size(), 4U);
  EXPECT_EQ(parts[0].digest, imageOf("fallbackd.io/checkout:1", "program", "amd64")[0].digest);
  const auto manifest = json::parse(parts[3].bytes);
  EXPECT_EQ(std::string(manifest.at_pointer("/layers/1/digest").as_string()), digest);
  EXPECT_EQ(manifest.at_pointer("/layers/1/size").to_number<std::size_t>(), tar.size());
  EXPECT_EQ(std::string(json::parse(parts[2].bytes).at_pointer("/rootfs/diff_ids/1").as_string()), digest);
  EXPECT_EQ(parts[3].labels.at("containerd.io/gc.ref.content.l.1"), digest);
}

TEST(StandInImage, AFileThatEndsEarlyIsAnError) {
  auto executable = executableOf("short");
  executable.size = 6;
  EXPECT_FALSE(digestOf(layerOf(executable)));
}

TEST(StandInImage, ANameStandsForOneContent) {
  const BinaryRef binary{"checkout", "1.8.3"};
  const auto one = executableOf("x");
  auto other = one;
  const auto name = imageNameOf(binary, one);
  EXPECT_THAT(name, testing::StartsWith("fallbackd.io/checkout:1.8.3.exec-"));
  EXPECT_EQ(imageNameOf(binary, other), name);
  other.path = "/app/other";
  EXPECT_NE(imageNameOf(binary, other), name);
  other = one;
  other.digest = "d2";
  EXPECT_NE(imageNameOf(binary, other), name);
}

TEST(StandInImage, TwoNamesAreTwoImages) {
  // containerd removes all names with the same configuration digest together.
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
