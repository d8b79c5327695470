//! Values without vendor: keys in blocks, tokens of standards, and what stands behind a key name.
//!
//! The first detector that fits a key name takes it. All examples are invented.

use super::detector::{Check, Detector, Encoding, Grade, Rule, Start, Tail};

/// Detectors of structures: what has no vendor.
pub(super) static STRUCTURES: [Detector; 29] = [
    Detector {
        name: "private-key",
        rule: Rule::Token {
            proof: r#"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:[ \t\r\n"'+,]|\\+[nrt]|\\)*(?:[A-Za-z0-9+/=]{16}|[A-Z][A-Za-z-]{2,20}: [ -\[\]-~]{0,100}(?:\n|\r|\\+[nr]))"#,
            start: Start::Word,
            tail: Tail::Pem,
            check: Check::Pattern,
        },
        examples: &[
            concat!(
                "key: \"«-----BEGIN ",
                "PRIVATE KEY-----\\nMIIBVgIBADANBgkqhkiG9w0BAQEF\\nQ2xhc3NpY2Fs\\n-----END PRIVATE KEY-----»\\n\""
            ),
            concat!(
                "«-----BEGIN RSA ",
                "PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0F1E\n\nMIIBVgIBADANBgkqhkiG9w0BAQEF\nQ2xhc3Np\n-----END RSA PRIVATE KEY-----»\n"
            ),
            concat!(
                "tls:\n  key: |\n    «-----BEGIN EC ",
                "PRIVATE KEY-----\n    MHcCAQEEIAiGxIlY2sYpZd1V9w0BAQEF\n    Q2xh\n    -----END EC PRIVATE KEY-----»\n  on: true\n"
            ),
            concat!(
                "«-----BEGIN PGP ",
                "PRIVATE KEY BLOCK-----\n\nlQOYBGX2sYpZd1V9w0BAQEFQ2xhc3NpY2Fs\n=aB3d\n-----END PGP PRIVATE KEY BLOCK-----»\n"
            ),
        ],
        counter_examples: &[
            "if line == \"-----BEGIN PRIVATE KEY-----\" { load() }",
            "-----BEGIN CERTIFICATE-----\nMIIBVgIBADANBgkqhkiG9w0BAQEF\n-----END CERTIFICATE-----\n",
            "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\n",
        ],
    },
    Detector {
        name: "putty-private-key",
        rule: Rule::Token {
            proof: r"Private-Lines: [0-9]{1,3}(?:\\+r)?(?:\\+n|\r?\n)[ \t]{0,16}[A-Za-z0-9+/=]{16}",
            start: Start::Word,
            tail: Tail::Pem,
            check: Check::Pattern,
        },
        examples: &[concat!(
            "Public-Lines: 1\nAAAAB3NzaC1yc2E=\n«Private-Lines: 1\n",
            "AAAAIGX2sYpZd1V9w0BAQEFQ2xhc3NpY2Fs»\nnext: 1\n"
        )],
        counter_examples: &["Private-Lines: 14", "Private-Lines: 1\n\n"],
    },
    Detector {
        name: "ssh2-private-key",
        rule: Rule::Token {
            proof: r"---- BEGIN SSH2 (?:ENCRYPTED )?PRIVATE KEY ----\r?\n(?:[A-Za-z0-9+/=]{16}|[A-Z][A-Za-z-]{2,20}: [ -\[\]-~]{0,100}\r?\n)",
            start: Start::Word,
            tail: Tail::Pem,
            check: Check::Pattern,
        },
        examples: &[concat!(
            "«---- BEGIN SSH2 ",
            "PRIVATE KEY ----\nComment: \"rsa\"\nAAAAIGX2sYpZd1V9w0BAQEFQ2xhc3NpY2Fs»\n---- END SSH2 PRIVATE KEY ----\n"
        )],
        counter_examples: &["---- BEGIN SSH2 PUBLIC KEY ----\nAAAAB3NzaC1yc2EAAAAD\n"],
    },
    Detector {
        name: "private-key-base64",
        rule: Rule::Token {
            proof: r"LS0tLS1CRUdJTi[A-Za-z0-9+/]{38}",
            start: Start::Word,
            tail: Tail::Base64,
            check: Check::PemBase64,
        },
        examples: &[concat!(
            "LS0tLS1CRUdJTi",
            "BQUklWQVRFIEtFWS0tLS0tCk1JSUJWZ0lCQURBTkJna3Foa2lHOXcwQkFRRUYK"
        )],
        counter_examples: &[
            "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUJWZ0lCQURBTkJna3Foa2lHOXcwQkFRRUYK",
        ],
    },
    Detector {
        name: "jwt",
        rule: Rule::Token {
            proof: r"ey[AJ][A-Za-z0-9_-]{10,}\.(?:eyJ[A-Za-z0-9_-]{4}|\.?[A-Za-z0-9_-]{16})",
            start: Start::Word,
            tail: Tail::Dotted,
            check: Check::Jwt,
        },
        examples: &[concat!(
            "eyJ",
            "hbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0NzExIiwibmFtZSI6Ik1pYSJ9.q7Zk2LmX9vTb4RnW8sYc1dHf3gJk5pQr"
        )],
        counter_examples: &[
            "eyJhbGciOi.xxxx",
            "eyJ4IjoxLCJ5IjoyfQ.eyJzdWIiOiI0NzExIn0.abc",
        ],
    },
    Detector {
        name: "url-password",
        rule: Rule::Url,
        examples: &[
            concat!(
                "DATABASE_URL=postgres://svc:",
                "«q7Zk-2LmX9vT»@db.corp.internal:5432/crm"
            ),
            concat!("redis://:", "«Gl4cier2020»@cache:6379/0"),
        ],
        counter_examples: &[
            "http://localhost:8080/a@b",
            "postgres://user:${DB_PASSWORD}@db/crm",
            "https://user:<password>@host/",
            "postgres://user:password@localhost/db",
        ],
    },
    Detector {
        name: "command-password",
        rule: Rule::Command,
        examples: &[
            concat!(
                "docker login -u ci -p ",
                "«Xsra7mAwBlWcyKLy8J0» registry.acme.example"
            ),
            concat!("curl -sS -u ci:", "«q7Zk2LmX9vTb» https://acme.example"),
        ],
        counter_examples: &[
            "mkdir -p target/debug2/x86",
            "curl -u \"${USER}:${PASSWORD}\" https://acme.example",
            "curl -u username:password https://acme.example",
        ],
    },
    Detector {
        name: "pgpass-password",
        rule: Rule::Fields,
        examples: &[concat!(
            "db.acme.example:5432:crm:app:",
            "«9Zjcl.VizDK5n_Y7»\n"
        )],
        counter_examples: &[
            "src/main.rs:1204:17: error: q7Zk2LmX9vTb",
            "127.0.0.1:5432:5432",
            "2001:db8:1100:2f0:0:1:9cb4:4216/125",
        ],
    },
    Detector {
        name: "jwk-private-member",
        rule: Rule::Jwk,
        examples: &[
            concat!(
                "{\"kty\":\"EC\",\"crv\":\"P-256\",\"d\":\"",
                "«XuoYhDILjNF0b7kYFZltfWHmlfmIBRe08TU0fCeWHgB»\"}"
            ),
            concat!(
                "{\"kty\": \"oct\", \"k\": \"",
                "«WIh6d08U6GnDTVx6cEcw9h94QdDQfsf045UJdDVUbaf»\"}"
            ),
        ],
        counter_examples: &["{\"d\":\"5hyD2iqVfkb7oFx8SLEq0gMsrClKebif2FQWk6xCERV\"}"],
    },
    Detector {
        name: "kubernetes-secret",
        rule: Rule::Kubernetes,
        examples: &[
            concat!(
                "kind: Secret\nmetadata:\n  name: app\ndata:\n  settings: ",
                "«djR4OU1sV0dJOV9sblgy»\n"
            ),
            concat!(
                "{\"kind\":\"Secret\",\"data\":{\"license\":\"",
                "«djR4OU1sV0dJOV9sblgy»\"}}"
            ),
            concat!(
                "kind: Secret\nstringData:\n  license: \"",
                "«v4x9MlWGI9_lnX2»\"\n"
            ),
        ],
        counter_examples: &[
            "kind: ConfigMap\ndata:\n  settings: djR4OU1sV0dJOV9sblgy",
            "kind: Secret\ndata:\n  username: YWRtaW4tNDI=",
            "kind: Secret\n---\ndata:\n  settings: djR4OU1sV0dJOV9sblgy",
        ],
    },
    Detector {
        name: "aws-secret-access-key",
        rule: Rule::Named {
            names: &[
                "secretaccesskey",
                "awssecretkey",
                "awssecret",
                "amazonsecretkey",
            ],
            grade: Grade::Generated,
        },
        examples: &[concat!(
            "aws_secret_access_key = ",
            "«a0n0VeSPCQdyMoYuNmqjA3pJeffR1Z5ndXk0jY07»\n"
        )],
        counter_examples: &[
            "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "AWS_SECRET_ACCESS_KEY=${SECRET}",
        ],
    },
    Detector {
        name: "aws-secret-access-key-pair",
        rule: Rule::AwsPair,
        examples: &[concat!(
            "(\"MASKED_AWS_ACCESS_KEY_ID_ABCDEFGHIJKLMNOP\", \"",
            "«tYX25GTMPi1eRpqrW6s/F1xLASxqtQyavLoxubUF»\")"
        )],
        counter_examples: &[],
    },
    Detector {
        name: "azure-storage-key",
        rule: Rule::Named {
            names: &[
                "accountkey",
                "storagekey",
                "sharedaccesskey",
                "cosmoskey",
                "primarykeyvalue",
            ],
            grade: Grade::Generated,
        },
        examples: &[concat!(
            "DefaultEndpointsProtocol=https;AccountName=acme;AccountKey=",
            "«q7Zk2LmX9vTb4RnW8sYc1dHf3gJk5pQrq7Zk2LmX9vTb4RnW8sYc1dHf3gJk5pQrq7Zk2LmX9vTb+BStRnW8sQ==»;EndpointSuffix=core.windows.net"
        )],
        counter_examples: &["AccountKey=<key>;"],
    },
    Detector {
        name: "azure-shared-access-signature",
        rule: Rule::Named {
            names: &["sig"],
            grade: Grade::Generated,
        },
        examples: &[concat!(
            "https://acme.blob.core.windows.net/c?sv=2022-11-02&sp=rl&sig=",
            "«q7Zk2LmX9vTb4RnW8sYc1dHf3gJk5pQr%2Bq7Zk2LmX9vT%3D»&se=2027"
        )],
        counter_examples: &[
            "sig = \"q7Zk2LmX9vTb4RnW8sYc1dHf3gJk5pQr\"",
            "?sv=1&sig=<signature>",
        ],
    },
    Detector {
        name: "private-key-value",
        rule: Rule::Named {
            names: &["privatekey", "privkey"],
            grade: Grade::Generated,
        },
        examples: &[concat!(
            "PrivateKey = ",
            "«jhrTGSplh9+MBBK31zUpGb7ioW09ABXrKcqPoB2Rz7E=»\nAddress = 10.8.0.2/24"
        )],
        counter_examples: &[
            "private_key = load_key(path)",
            "IceSSL.PrivateKey=rsa1024_priv.pem",
        ],
    },
    Detector {
        name: "vendor-key",
        rule: Rule::Named {
            names: &[
                "openaikey",
                "anthropickey",
                "claudekey",
                "geminikey",
                "mistralkey",
                "coherekey",
                "groqkey",
                "deepseekkey",
                "huggingfacekey",
                "stripekey",
                "twiliokey",
                "sendgridkey",
                "mailgunkey",
                "mailchimpkey",
                "datadogkey",
                "ddkey",
                "newrelickey",
                "cloudflarekey",
                "herokukey",
                "algoliakey",
                "lobkey",
                "notionkey",
                "airtablekey",
                "pineconekey",
                "postmarkkey",
                "fastlykey",
                "opsgeniekey",
                "pagerdutykey",
                "cosmoskey",
                "cosmosdbkey",
                "cosmosprimarykey",
                "cosmosdbprimarykey",
                "storageprimarykey",
                "primaryaccesskey",
                "speechkey",
                "cognitivekey",
                "elevenlabskey",
                "linodekey",
                "adobekey",
                "agorakey",
                "alchemykey",
                "amplitudekey",
                "anypointkey",
                "asanakey",
                "assemblyaikey",
                "atlassiankey",
                "azuresearchkey",
                "binancekey",
                "bitbucketkey",
                "bugsnagkey",
                "circlecikey",
                "clarifaikey",
                "clearbitkey",
                "clickupkey",
                "cloudantkey",
                "coinbasekey",
                "configcatkey",
                "contentfulkey",
                "deepgramkey",
                "digitaloceankey",
                "dropboxkey",
                "dynatracekey",
                "etherscankey",
                "exakey",
                "facebookkey",
                "figmakey",
                "firecrawlkey",
                "freshdeskkey",
                "ghostkey",
                "giteakey",
                "grafanakey",
                "honeycombkey",
                "hubspotkey",
                "ibmkey",
                "infurakey",
                "intercomkey",
                "ipinfokey",
                "jfrogkey",
                "klaviyokey",
                "langsmithkey",
                "lokalisekey",
                "mandrillkey",
                "mapboxkey",
                "merakikey",
                "mixpanelkey",
                "moraliskey",
                "netlifykey",
                "nexmokey",
                "nugetkey",
                "oktakey",
                "ollamakey",
                "openweatherkey",
                "perplexitykey",
                "plivokey",
                "rapidapikey",
                "replicatekey",
                "rollbarkey",
                "sendinbluekey",
                "sentrykey",
                "serpapikey",
                "shodankey",
                "snykkey",
                "softlayerkey",
                "sonarkey",
                "sparkpostkey",
                "stabilitykey",
                "supabasekey",
                "tavilykey",
                "telegramkey",
                "trellokey",
                "typeformkey",
                "vercelkey",
                "virustotalkey",
                "voyagekey",
                "vultrkey",
                "wandbkey",
                "xaikey",
                "zendeskkey",
                "twilioauth",
            ],
            grade: Grade::Generated,
        },
        examples: &[
            concat!("LOB_KEY=", "«mZAp121u4W8U9DUWGFy1xUIRtePiwWd4»\n"),
            concat!("twilio_auth: \"", "«31c28a8403d17174570e8e9dcca2fc03»\""),
        ],
        counter_examples: &["OPENAI_KEY=$OPENAI_KEY2", "stripeKey = keys.stripe2"],
    },
    Detector {
        name: "api-key",
        rule: Rule::Named {
            names: &[
                "apikey",
                "appkey",
                "applicationkey",
                "accesskey",
                "authkey",
                "servicekey",
                "subscriptionkey",
                "adminkey",
                "deploykey",
                "clientkey",
                "accesskeysecret",
                "integrationkey",
                "functionkey",
                "writekey",
                "licensekey",
                "functionskey",
                "ingestkey",
                "platformkey",
                "readkey",
                "rootkey",
                "sdkkey",
                "searchkey",
                "serverkey",
                "unsealkey",
            ],
            grade: Grade::Generated,
        },
        examples: &[
            concat!("api_key: '", "«q7Zk2LmX9vTb4RnW8sYc»'"),
            concat!("{\\\"apiKey\\\": \\\"", "«q7Zk2LmX9vTb4RnW8sYc»\\\"}"),
            concat!("const API_KEY: &str = \"", "«q7Zk2LmX9vTb4RnW8sYc»\";"),
            concat!(
                "{\"key\":\"MAPS_API_KEY\",\"value\":\"",
                "«q7Zk2LmX9vTb4RnW8sYc»\"}"
            ),
            concat!(
                "helm upgrade app --set maps.apiKey=",
                "«q7Zk2LmX9vTb4RnW8sYc» --namespace prod"
            ),
        ],
        counter_examples: &[
            "api_key = process.env.API_KEY;",
            "api_key = \"your-api-key-goes-here\"",
            "api_key: string = getApiKey(42)",
            "apiKey={config.services.maps.apiKey}",
        ],
    },
    Detector {
        name: "encryption-key",
        rule: Rule::Named {
            names: &[
                "encryptionkey",
                "signingkey",
                "secretkey",
                "secretkeybase",
                "masterkey",
                "jwtkey",
                "hmackey",
                "sessionkey",
                "cookiekey",
                "cryptkey",
                "authsalt",
                "loggedinkey",
                "noncekey",
                "secureauthkey",
                "noncesalt",
                "loggedinsalt",
                "sharedkey",
                "cipherkey",
            ],
            grade: Grade::Generated,
        },
        examples: &[
            concat!(
                "SECRET_KEY = '",
                "«q7zk2lmx9#vtb4rnw8(syc1)dhf3gjk5pqr+2wq»'"
            ),
            concat!(
                "  secret_key_base: ",
                "«308c38f6b4baa1fcd704aa5b5bdd4e6906ec44de16f3dae5»\n"
            ),
        ],
        counter_examples: &[
            "SECRET_KEY = os.environ['SECRET_KEY']",
            "signing_key = Ed25519.generate()",
        ],
    },
    Detector {
        name: "authorization",
        rule: Rule::Named {
            names: &["authorization"],
            grade: Grade::Header,
        },
        examples: &[concat!(
            "Authorization: ",
            "«q7Zk2LmX9vTb4RnW8sYc1dHf3gJk5pQr»\n"
        )],
        counter_examples: &[
            "Authorization: Bearer <token>",
            "Authorization: Bearer $TOKEN\"",
            "authorization: none",
        ],
    },
    Detector {
        name: "bearer-token",
        rule: Rule::Named {
            names: &["bearer"],
            grade: Grade::Generated,
        },
        examples: &[
            concat!(
                "curl -H 'Authorization: Bearer ",
                "«q7Zk2LmX9vTb4RnW8sYc1dHf3g»'"
            ),
            concat!(
                "h = {\"Authorization\": \"Bearer ",
                "«q7Zk2LmX9vTb4RnW8sYc1dHf3g»\"}"
            ),
        ],
        counter_examples: &[
            "a bearer token is sent",
            "f\"Bearer {token}\"",
            "Bearer test",
        ],
    },
    Detector {
        name: "basic-auth",
        rule: Rule::Named {
            names: &["basic", "auth"],
            grade: Grade::Basic,
        },
        examples: &[
            concat!(
                "Authorization: Basic ",
                "«Y2k6ZUEyRC42di43dmN2MVgyNnh1TFJo»\n"
            ),
            concat!(
                "\"registry\": { \"auth\": \"",
                "«Y2k6ZUEyRC42di43dmN2MVgyNnh1TFJo»\" }"
            ),
        ],
        counter_examples: &["Authorization: Basic {base64}", "a basic c2ltcGxl example"],
    },
    Detector {
        name: "secret",
        rule: Rule::Named {
            names: &[
                "secret",
                "secretvalue",
                "clientsecretvalue",
                "credential",
                "credentials",
                "creds",
                "secretid",
            ],
            grade: Grade::Generated,
        },
        examples: &[concat!(
            "webhook_secret = \"",
            "«31c28a8403d17174570e8e9dcca2fc03»\""
        )],
        counter_examples: &[
            "secret = \"<hunter2>\"",
            "client_secret = var.client_secret",
            "secretName: my-app-tls-2",
        ],
    },
    Detector {
        name: "token",
        rule: Rule::Named {
            names: &[
                "token",
                "tokenvalue",
                "session",
                "phpsessid",
                "jsessionid",
                "sessionid",
                "authtoken",
                "pat",
                "sonarlogin",
                "gitlabsession",
            ],
            grade: Grade::Generated,
        },
        examples: &[
            concat!(
                "//npm.corp.example/:_authToken=",
                "«038dc160-7cc5-435a-ab54-72f1a6e6fd4c»\n"
            ),
            concat!(
                "c.Headers.Add(\"ci-token\", \"",
                "«NtZWGgJ8VqbP_kvHsQu-Cy6csQvX»\");"
            ),
            concat!(
                "curl 'https://a.example/v1?page=2&access_token=",
                "«q7Zk2LmX9vTb4RnW8sYc»&x=1'"
            ),
        ],
        counter_examples: &[
            "next_page_token = \"q7Zk2LmX9vTb4RnW8sYc\"",
            "token: CancellationToken",
            "const token = await getToken();",
            "csrf_token = 'q7Zk2LmX9vTb4RnW8sYc'",
        ],
    },
    Detector {
        name: "password",
        rule: Rule::Named {
            names: &[
                "password",
                "passwd",
                "pwd",
                "pass",
                "passphrase",
                "passwort",
                "passcode",
                "pw",
                "passwordvalue",
                "dbpass",
                "rootpass",
                "userpass",
                "adminpass",
                "identified",
                "converttosecure",
                "requirepass",
                "masterauth",
                "storepass",
                "keypass",
            ],
            grade: Grade::Password,
        },
        examples: &[
            concat!("DB_PASSWORD = \"", "«hunter2-Xq»\""),
            concat!(
                "Server=tcp:db;Database=crm;User ID=app;Password=",
                "«I8GBCJ5T0fHLybB0h»;Encrypt=True;"
            ),
            concat!(
                "psql \"host=db user=app password=",
                "«Qv1JB55fbgEW3kSBld» sslmode=require\""
            ),
            concat!("<password>", "«be6~UWPCBcxmW14YJ»</password>"),
            concat!(
                "machine api.acme.example\n  login ci\n  password ",
                "«2~AxoaTpw1c9TV3P»\n"
            ),
            concat!(
                "variable \"db_password\" {\n  type    = string\n  default = \"",
                "«i4SXW+A.hP8kXPh7»\"\n}"
            ),
            concat!(
                "os.environ.setdefault(\"KEYSTORE_PASSWORD\", \"",
                "«v4x9MlWGI9l.#nX»\")"
            ),
            concat!("REDIS_PASS=", "«Zephyr!1988»\n"),
        ],
        counter_examples: &[
            "password = \"password\"",
            "password: string",
            "password=\"${DB_PASSWORD}\"",
            "password = user.password2",
            "if password == other { }",
            "password = \"********\"",
            "password combination.\n\nR5: Regulatory--21",
            "passwordVariable: 'PASSWORD'",
            "password = \"MASKED_PASSWORD_ABCDEFGHIJKLMNOP\"",
        ],
    },
    Detector {
        name: "wifi-key",
        rule: Rule::Named {
            names: &["wpakey", "presharedkey", "psk"],
            grade: Grade::Password,
        },
        examples: &[concat!("psk=\"", "«hunter2-Xq»\"")],
        counter_examples: &["psk=\"\""],
    },
    Detector {
        name: "seed-phrase",
        rule: Rule::Named {
            names: &["mnemonic", "mnemonicphrase", "seedphrase"],
            grade: Grade::Phrase,
        },
        examples: &[
            concat!(
                "const mnemonic = \"",
                "«velvet orbit cabin lunar tiger maple drift onion pupil scout wagon fabric»\";"
            ),
            concat!(
                "MNEMONIC=",
                "«velvet orbit cabin lunar tiger maple drift onion pupil scout wagon fabric»\n"
            ),
        ],
        counter_examples: &[
            "mnemonic: a short word that helps people to keep a longer one in mind.",
            "seed_phrase = load_phrase(path)",
        ],
    },
    Detector {
        name: "base64-encoded",
        rule: Rule::Encoded(Encoding::Base64),
        // a token, a line of a file, an address
        examples: &[
            concat!(
                "data: \"",
                "«Z2hwX2pJVW5BMjNQQUtrUVdGMG9OZW1WYUVPUnhFZnp1Wk5vaVhYaw==»\""
            ),
            concat!("k: ", "«REJfUEFTU1dPUkQ9Imh1bnRlcjItWHEiCg==»\n"),
            concat!(
                "echo ",
                "«cG9zdGdyZXM6Ly9hcHA6cTdaazJMbVg5dkBkYi94Cg» | base64 -d"
            ),
        ],
        counter_examples: &[
            "data: \"VGhlIHF1aWNrIGJyb3duIGZveCBqdW1wcyBvdmVyIHRoZSBsYXp5IGRvZy4=\"",
            "IfTheQuickBrownFoxJumpsOverTheLazyDog",
        ],
    },
    Detector {
        name: "hex-encoded",
        rule: Rule::Encoded(Encoding::Hex),
        examples: &[concat!(
            "x = 0; y = '",
            "«6768705f6a49556e413233504",
            "14b6b515746306f4e656d5661454f5278»'"
        )],
        counter_examples: &[
            "54686520717569636b2062726f776e20666f78206a756d7073206f766572",
            "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12",
        ],
    },
    Detector {
        name: "percent-encoded",
        rule: Rule::Encoded(Encoding::Percent),
        examples: &[
            concat!(
                "?next=https",
                "«%3A%2F%2Fapp%3Aq7Zk2LmX9v%40db.example%2Fx»&page=2"
            ),
            concat!("body=", "«%7B%22password%22%3A%22hunter2-Xq%22%7D»\n"),
        ],
        counter_examples: &[
            "?next=https%3A%2F%2Fdb.example%2Fx&page=2",
            "100%de facto 50%ab",
        ],
    },
];
