// SPDX-License-Identifier: Apache-2.0
#include "cache/attestation.hpp"

#include "cache/image_config.hpp"
#include "cache/json.hpp"
#include "signed_cache.hpp"

namespace fallbackd::cache {
namespace {

using test::SignedCache;

TEST(Dsse, PreAuthEncodingOfTheSpecification) {
  EXPECT_EQ(preAuthEncoding("http://example.com/HelloWorld", "hello world"),
            "DSSEv1 29 http://example.com/HelloWorld 11 hello world");
}

TEST(Base64, BothAlphabetsPaddedOrNot) {
  EXPECT_EQ(*decodeBase64("+/8=", "x"), "\xfb\xff");
  EXPECT_EQ(*decodeBase64("-_8=", "x"), "\xfb\xff");
  EXPECT_EQ(*decodeBase64("-_8", "x"), "\xfb\xff");
  for (const auto* bad : {"+_8=", "a", "aa=", "a===", "aa==aa", "a b=", "a\nb=", "aB==",
                          "aaa="}) {  // in the last two the bits after the last byte are not zero
    EXPECT_FALSE(decodeBase64(bad, "x")) << bad;
  }
  for (std::size_t size = 0; size < 40; ++size) {
    const std::string bytes(size, '\xe5');
    EXPECT_EQ(*decodeBase64(encodeBase64(bytes), "x"), bytes);
  }
}

TEST(Attestation, OtherFormsOfCosignAreNamed) {
  for (const auto* text :
       {R"({"base64Signature":"AAAA"})", R"({"_type":"https://in-toto.io/Statement/v1"})"}) {
    EXPECT_EQ(toString(parseEnvelope(text, "it").error().reason), "attestation_unsupported") << text;
  }
}

struct RoundTrip : testing::TestWithParam<KeyType> {};

TEST_P(RoundTrip, SignedAndVerified) {
  SignedCache cache;
  const auto key = std::move(*PrivateKey::generate(GetParam()));
  cache.addKey("this", key);
  const auto keyring = Keyring::open(cache.path("keys"), ::geteuid());
  ASSERT_TRUE(keyring);
  const auto statement = SignedCache::statementFor({"checkout", "1.8.3"}, "bytes");
  const auto bundle = *signStatement(statement, key);
  const auto verified = verifyAttestation(bundle, *keyring, "it");
  ASSERT_TRUE(verified) << verified.error().message();
  EXPECT_EQ(verified->statement.ref, statement.ref);
  EXPECT_EQ(verified->statement.digest, statement.digest);
  EXPECT_EQ(verified->statement.expires, statement.expires);
  EXPECT_EQ(verified->keys.size(), 1U);
}

INSTANTIATE_TEST_SUITE_P(Keys, RoundTrip, testing::Values(KeyType::p256, KeyType::ed25519));

TEST(Attestation, NamespacesAreReadAsWritten) {
  using List = std::vector<std::string>;
  auto statement = SignedCache::statementFor({"checkout", "1.8.3"}, "bytes");
  EXPECT_FALSE(parseStatement(writeStatement(statement), "it")->namespaces);
  for (const auto& names : {List{"shop"}, List{"shop", "shop-test"}, List{}}) {
    statement.namespaces = names;
    EXPECT_EQ(parseStatement(writeStatement(statement), "it")->namespaces, names);
  }
}

TEST(Attestation, NamespacesThatAreNotNamesAreRefused) {
  const auto payload = writeStatement(SignedCache::statementFor({"checkout", "1.8.3"}, "bytes"));
  std::string many = R"("a0")";
  for (int i = 1; i < 300; ++i) many.append(",\"a" + std::to_string(i) + "\"");
  for (const auto& value :
       {std::string(R"("shop")"), std::string("7"), std::string("null"), std::string(R"(["Shop"])"),
        std::string(R"([""])"), std::string(R"(["*"])"), std::string("[1]"), "[" + many + "]"}) {
    auto text = payload;
    const std::string key = R"("predicate":{)";
    text.insert(text.find(key) + key.size(), R"("namespaces":)" + value + ",");
    const auto read = parseStatement(text, "it");
    ASSERT_FALSE(read) << value.substr(0, 40);
    EXPECT_EQ(read.error().reason, Reason::attestation_malformed);
  }
}

TEST(Attestation, TheImageConfigurationIsReadAsWritten) {
  auto statement = SignedCache::statementFor({"checkout", "1.8.3"}, "bytes");
  EXPECT_FALSE(parseStatement(writeStatement(statement), "it")->image);
  for (const auto& image : {ImageConfig{}, ImageConfig{"65532:65532",
                                                       {{"PATH", "/bin"}, {"EMPTY", ""}, {"URL", "a=b"}},
                                                       {"/app", "--verbose"},
                                                       {"serve"},
                                                       "/srv"}}) {
    statement.image = image;
    EXPECT_EQ(parseStatement(writeStatement(statement), "it")->image, image);
  }
}

TEST(Attestation, AnInvalidImageIsRefused) {
  const auto payload = writeStatement(SignedCache::statementFor({"checkout", "1.8.3"}, "bytes"));
  std::string many = R"("A=1")";
  for (int i = 1; i < 1100; ++i) many.append(R"(,"A=1")");
  const std::string large(kMaxImageConfigBytes, 'a');
  const std::vector<std::pair<std::string, Reason>> cases{
      {R"("shop")", Reason::attestation_malformed},
      {R"({"user":7})", Reason::attestation_malformed},
      {R"({"env":"A=1"})", Reason::attestation_malformed},
      {R"({"env":["A"]})", Reason::attestation_malformed},
      {R"({"env":["=1"]})", Reason::attestation_malformed},
      {R"({"env":[1]})", Reason::attestation_malformed},
      {R"({"env":[)" + many + "]}", Reason::attestation_malformed},
      {R"({"cmd":["a\u0000b"]})", Reason::attestation_malformed},
      {R"({"workingDir":"srv"})", Reason::attestation_malformed},
      {R"({"cmd":["a)" + large + R"("]})", Reason::too_large},
      {R"({"shell":["/bin/sh"]})", Reason::attestation_unsupported}};
  for (const auto& [value, reason] : cases) {
    auto text = payload;
    const std::string key = R"("predicate":{)";
    text.insert(text.find(key) + key.size(), R"("image":)" + value + ",");
    const auto read = parseStatement(text, "it");
    ASSERT_FALSE(read) << value.substr(0, 40);
    EXPECT_EQ(read.error().reason, reason) << value.substr(0, 40);
  }
}

TEST(ImageDocument, IsWhatSkopeoPrints) {
  const auto read = parseImageDocument(
      R"({"created":"2026-01-01T00:00:00Z","architecture":"arm64","os":"linux","config":{"User":"1000","Env":["PATH=/bin",)"
      R"("X="],"Entrypoint":["/app"],"Cmd":null,"WorkingDir":"/srv","Labels":{"a":"b"},"ExposedPorts":{"80/tcp":{}}},)"
      R"("rootfs":{"type":"layers","diff_ids":["sha256:1"]},"history":[{"created_by":"x"}]})",
      "it");
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(read->config, (ImageConfig{"1000", {{"PATH", "/bin"}, {"X", ""}}, {"/app"}, {}, "/srv"}));
  EXPECT_EQ(read->architecture, "arm64");
  for (const auto* bad : {"", "[]", "{}", R"({"config":[]})", R"({"Config":{}})",
                          R"({"schemaVersion":2,"config":{"Env":3}})"}) {
    EXPECT_FALSE(parseImageDocument(bad, "it")) << bad;
  }
}

TEST(Attestation, ReadsTheFormsOfCosign) {
  SignedCache cache;
  const auto keyring = *Keyring::open(cache.path("keys"), ::geteuid());
  // As cosign attest-blob writes it: Statement v0.1, the user's predicate, standard base64.
  const std::string payload =
      R"({"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://fallbackd.io/attestations/binary/v1",)"
      R"("subject":[{"name":"checkout","digest":{"sha256":")" +
      std::string(64, 'a') +
      R"("}}],"predicate":{"name":"checkout","version":"1.8.3","os":"linux","arch":"amd64",)"
      R"("expires":"2030-01-01T00:00:00Z"}})";
  const auto signature = encodeBase64(*cache.key.sign(preAuthEncoding(kPayloadType, payload)));
  const std::string envelope =
      R"({"payload":")" + encodeBase64(payload) +
      R"(","payloadType":"application/vnd.in-toto+json","signatures":[{"keyid":"","sig":")" + signature +
      R"("}]})";
  const auto bundle = [&](const std::string& mediaType) {
    return R"({"mediaType":")" + mediaType +
           R"(","verificationMaterial":{"publicKey":{"hint":"lies"},"tlogEntries":[]},"dsseEnvelope":)" +
           envelope + "}";
  };
  std::vector<std::string> forms{envelope};
  for (const auto* type : {"application/vnd.dev.sigstore.bundle.v0.3+json",
                           "application/vnd.dev.sigstore.bundle+json;version=0.1",
                           "application/vnd.dev.sigstore.bundle+json;version=0.2",
                           "application/vnd.dev.sigstore.bundle+json;version=0.3"}) {
    forms.push_back(bundle(type));
  }
  for (const auto& form : forms) {
    const auto verified = verifyAttestation(form, keyring, "it");
    ASSERT_TRUE(verified) << form << "\n" << verified.error().message();
    EXPECT_EQ(verified->statement.ref.toString(), "checkout@1.8.3");
  }
}

}  // namespace
}  // namespace fallbackd::cache
